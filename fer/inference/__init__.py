"""A trained net at work without its engine: faces found in pictures, their expressions, pictures annotated."""
