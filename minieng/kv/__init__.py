"""The paged KV cache: which block belongs to whom (blocks), how many a plan needs (allocator), the memory itself (tensors)."""
