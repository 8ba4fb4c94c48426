"""What people read: reference pages, tables and figures."""
