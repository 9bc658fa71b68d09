"""Alert consumers: routing, an outbox that loses nothing, and the channels."""
