"""What a person starts on images of their own: commands and the page."""
