"""The phantom's body: shapes, tissues, organs, and the scanner. `train.synthetic.anatomy` puts them together."""
