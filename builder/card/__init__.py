"""The dataset card: its YAML, terms and pictures, without any network."""
