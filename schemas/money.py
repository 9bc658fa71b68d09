"""Money is an integer number of pico-dollars (1e-12 USD). No float ever holds money."""

from decimal import Decimal, DecimalException, Inexact, localcontext

PICO = 10**12


def to_pico(usd: str | Decimal) -> int:
    """Dollars as text or Decimal to pico-dollars; ValueError when it is not a whole number of them."""
    with localcontext() as context:
        context.prec = 60
        context.traps[Inexact] = True  # a product that had to be rounded is not the amount that was given
        try:
            pico = Decimal(usd) * PICO
            whole = pico.is_finite() and pico == pico.to_integral_value()
        except DecimalException:
            whole = False
        if not whole:
            raise ValueError(f"{usd}: not a finite number of whole pico-dollars (at most 12 decimals)")
        return int(pico)


def to_usd(pico: int) -> Decimal:
    """Pico-dollars to dollars, exact, always with 12 decimals."""
    with localcontext() as context:
        context.prec = 60
        return Decimal(pico).scaleb(-12)


def usd_text(pico: int) -> str:
    """Dollars with as many decimals as needed, at least two: `0.0000025`, `12.50`."""
    text = f"{to_usd(pico):f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def grouped(amount: str) -> str:
    """A decimal amount as people read it, dollars or a count: `1,234,567.50`."""
    return f"{Decimal(amount):,f}"
