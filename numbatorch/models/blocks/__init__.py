"""Parts that models are made of: each takes sizes, not a model's configuration."""
