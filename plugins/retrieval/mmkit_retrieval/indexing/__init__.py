"""Building an index folder from a corpus. A build can be stopped at any point and continued."""
