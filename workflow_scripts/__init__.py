"""One command line for each rule of the workflow, of the rule's name."""
