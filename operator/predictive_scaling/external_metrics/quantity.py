"""Numbers as Kubernetes writes them."""

from decimal import ROUND_HALF_EVEN, Decimal


def format_quantity(value: float) -> str:
    """A resource.Quantity to the thousandth: whole numbers as they are, others in milli.

    value: finite, at most 9e15 in magnitude.

    >>> format_quantity(820.0), format_quantity(1234.5), format_quantity(0.0004)
    ('820', '1234500m', '0')
    """
    thousandths = int((Decimal(repr(value)) * 1000).to_integral_value(ROUND_HALF_EVEN))
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)
