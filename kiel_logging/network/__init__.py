"""Sockets. The only package that waits for brokers, on Tornado's IOLoop."""
