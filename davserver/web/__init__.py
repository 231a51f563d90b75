"""For people and programs beside WebDAV: the JSON API below /-/api/v1/."""
