"""Connections, the cluster and the sender, against fake brokers on loopback sockets."""
