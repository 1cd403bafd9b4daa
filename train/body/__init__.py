"""The phantom's body: shapes, tissues, organs, and the scanner. `train.anatomy` puts them together."""
