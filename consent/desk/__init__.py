"""The consent desk: a local web page on which a registrar gives people their say."""
