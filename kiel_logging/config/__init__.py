"""OPTIONS: each in one place, checked once, before anything else happens."""
