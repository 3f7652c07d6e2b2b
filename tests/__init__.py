"""The promises of the package, one test each."""
