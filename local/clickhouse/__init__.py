"""The ClickHouse engine of the one-machine stack: in this process, behind ClickHouse's own HTTP interface."""
