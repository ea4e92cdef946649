"""The paper's experiments: settings in, result rows out; tables and figures from the rows."""
