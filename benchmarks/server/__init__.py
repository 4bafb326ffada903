"""The server under load, on loopback: ingest, memory, faults and the latency of queries."""
