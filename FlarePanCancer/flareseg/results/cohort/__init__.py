"""All cases of a folder on one page: unusual ones first, to look through and to judge."""
