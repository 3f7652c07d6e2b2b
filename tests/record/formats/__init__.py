"""The formats of a record's value: by example, by law, and beside other libraries."""
