"""What a re-ranker costs and what it earns: data sets, features, measuring, metrics, reports."""
