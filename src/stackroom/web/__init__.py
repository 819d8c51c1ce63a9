"""The page in the browser, and the HTTP API that it uses. Imported by `stackroom ui`; needs the extra `ui`."""
