"""Tables and plots: pure functions of stored records."""

from bench.reporting.accuracy import accuracy_table
from bench.reporting.churn import churn_table
from bench.reporting.cost import cost_table
from bench.reporting.linking import linking_table
from bench.reporting.tune import oracle_table, tune_table

__all__ = ["accuracy_table", "churn_table", "cost_table", "linking_table", "oracle_table", "tune_table"]
