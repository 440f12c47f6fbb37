"""Any other model of transformers: run on the paged cache, tried before it is trusted, refused by name where it cannot be right."""
