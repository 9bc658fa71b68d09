"""The one-machine stack: Kafka, the schema registry, ClickHouse, the workers and Superset under one supervisor.

This package starts commands; it imports no other package of the ledger.
"""
