"""What the filter counts, and how Prometheus gets it (docs/monitoring.md).

Its modules:

families    the table of all metrics that workers and supervisor count; where each has its place in a row
board       rows of numbers in memory that all processes share: one a worker, summed by who asks
tally       a worker's row: one call for each message
supervised  the supervisor's row: restarts, reloads, what is in force
outside     what is measured when somebody asks: journal, memory
exposition  the sums in Prometheus's text format
exporter    the process that answers GET /metrics and GET /healthz
"""
