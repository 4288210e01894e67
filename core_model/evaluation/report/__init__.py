"""Results as JSON, CSV and pages that need nothing else. Needs the extra ``[report]``."""
