"""Where a result comes from: code, versions, commit."""
