"""One file a scenario: each sets up what it needs, measures in rounds, and returns the report's rows."""
