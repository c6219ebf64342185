"""Ready recipes, with the models and data that they name."""
