"""From LogRecords to bytes: everything here is pure, and runs on the thread that logs."""
