"""The quickstart: scikit-learn's digits from pixels to scored classifiers, with a picture and a table of it."""
