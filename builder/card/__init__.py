"""The dataset card: its YAML, text, licence terms and pictures. Nothing here uses the network."""
