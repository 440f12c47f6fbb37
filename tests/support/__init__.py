"""What several tests share: cases, stand-ins, oracles and small models. Found through ``pythonpath`` in pyproject.toml."""
