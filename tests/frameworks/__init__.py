"""Each framework's page works: the framework itself runs the page's example, by its command."""
