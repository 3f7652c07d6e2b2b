"""Options, checked: of the Producer, of TLS and SASL, and as properties of other clients."""
