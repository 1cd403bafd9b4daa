"""Functions in LLVM's intermediate language, written down step by step, and made machine code of this processor.

A function here is loops over arrays of single-precision numbers, a vector of neighbouring channels at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

Value = Any
"""Of llvmlite, which has no types."""
Native = Callable[..., None]
POINTER, OFFSETS, COUNT = "pointer", "offsets", "count"
"""Parameters: the addresses of floats and of 64-bit integers, and a 64-bit integer."""
_C_TYPES = {POINTER: ctypes.c_void_p, OFFSETS: ctypes.c_void_p, COUNT: ctypes.c_int64}
PROCESSORS = {8: ("x86-64-v3", ""), 16: ("x86-64-v4", "-prefer-256-bit")}
"""By the floats of a vector, what code is made for, in LLVM's names: AVX2 with FMA, and AVX-512."""


class Loop:
    """A loop that is being written.

    Attributes:
        index: of this turn.
        now: the carried values at its beginning.
        next: what they are at its end; as they were unless set.
    """

    def __init__(self, index: Value, now: Sequence[Value]) -> None:
        self.index, self.now, self.next = index, tuple(now), tuple(now)


class Emitter:
    """One function without a result. Integers of Python stand for constants wherever a count is expected.

    Args:
        module: of llvmlite, which the function becomes part of.
        name: of the function.
        lanes: floats in a vector.
        parameters: the kind of each, by its name.

    Attributes:
        arguments: by name.
    """

    def __init__(self, module: Any, name: str, lanes: int, **parameters: str) -> None:
        self._ir: Any = import_module("llvmlite.ir")
        self.lanes = lanes
        self._float, self._int, self._half = self._ir.FloatType(), self._ir.IntType(64), self._ir.HalfType()
        self._vector = self._ir.VectorType(self._float, lanes)
        types = {
            POINTER: self._float.as_pointer(),
            OFFSETS: self._int.as_pointer(),
            COUNT: self._int,
        }
        kind = self._ir.FunctionType(self._ir.VoidType(), [types[parameter] for parameter in parameters.values()])
        self._module, self._function = module, self._ir.Function(module, kind, name)
        self.arguments: dict[str, Value] = dict(zip(parameters, self._function.args, strict=True))
        for name, argument in self.arguments.items():
            argument.name = name
        self._builder: Any = self._ir.IRBuilder(self._function.append_basic_block())

    def finish(self) -> None:
        self._builder.ret_void()

    def plus(self, x: Value, y: Value) -> Value:
        return self._builder.add(self._count(x), self._count(y))

    def minus(self, x: Value, y: Value) -> Value:
        return self._builder.sub(self._count(x), self._count(y))

    def times(self, x: Value, y: Value) -> Value:
        return self._builder.mul(self._count(x), self._count(y))

    def whole_steps(self, x: Value, step: int) -> Value:
        """The largest multiple of `step` that is not above `x`."""
        return self.times(self.quotient(x, step), step)

    def quotient(self, x: Value, y: Value) -> Value:
        """Of what is not negative, rounded down."""
        return self._builder.sdiv(self._count(x), self._count(y))

    def below(self, x: Value, y: Value) -> Value:
        return self._builder.icmp_signed("<", self._count(x), self._count(y))

    def within(self, x: Value, size: Value) -> Value:
        """Whether 0 <= x < size."""
        return self._builder.icmp_unsigned("<", self._count(x), self._count(size))

    def both(self, x: Value, y: Value) -> Value:
        return self._builder.and_(x, y)

    def either(self, condition: Value, x: Value, y: Value) -> Value:
        """`x` where the condition holds, else `y`."""
        return self._builder.select(condition, self._count(x), self._count(y))

    def at(self, pointer: Value, offset: Value) -> Value:
        """The pointer so many elements further."""
        return self._builder.gep(pointer, [self._count(offset)])

    def load(self, pointer: Value, offset: Value = 0) -> Value:
        """A vector."""
        place = self._builder.bitcast(self.at(pointer, offset), self._vector.as_pointer())
        return self._builder.load(place, align=4, typ=self._vector)

    def store(self, vector: Value, pointer: Value, offset: Value = 0) -> None:
        place = self._builder.bitcast(self.at(pointer, offset), self._vector.as_pointer())
        self._builder.store(vector, place, align=4)

    def load_everywhere(self, pointer: Value, offset: Value) -> Value:
        """A vector of one float, repeated."""
        return self.everywhere(self.load_number(pointer, offset))

    def load_count(self, pointer: Value, offset: Value) -> Value:
        return self._builder.load(self.at(pointer, offset), typ=self._int)

    def everywhere(self, number: Value) -> Value:
        """A vector of one number, repeated: of Python, or of the function."""
        if isinstance(number, float):
            return self._ir.Constant(self._vector, [number] * self.lanes)
        index = self._ir.IntType(32)
        nothing = self._ir.Constant(self._vector, self._ir.Undefined)
        first = self._builder.insert_element(nothing, number, index(0))
        places = self._ir.Constant(self._ir.VectorType(index, self.lanes), [0] * self.lanes)
        return self._builder.shuffle_vector(first, nothing, places)

    def load_number(self, pointer: Value, offset: Value) -> Value:
        return self._builder.load(self.at(pointer, offset), typ=self._float)

    def store_number(self, number: Value, pointer: Value, offset: Value) -> None:
        self._builder.store(number, self.at(pointer, offset))

    def part_of(self, vector: Value, place: int) -> Value:
        """One float of a vector."""
        return self._builder.extract_element(vector, self._ir.IntType(32)(place))

    def add_to_halves(self, pointer: Value, offset: Value, added: Value) -> None:
        """Add a vector, or a number, to what is there in half precision, and round once."""
        wide = added.type
        narrow = self._ir.VectorType(self._half, self.lanes) if wide == self._vector else self._half
        place = self._builder.bitcast(self._builder.gep(pointer, [self._count(offset)]), narrow.as_pointer())
        before = self._builder.load(place, align=2, typ=narrow)
        total = self.add(self._builder.fpext(before, wide), added)
        self._builder.store(self._builder.fptrunc(total, narrow), place, align=2)

    def halves_at(self, address: Value) -> Value:
        """A count that is the address of numbers in half precision, as their pointer."""
        return self._builder.inttoptr(address, self._half.as_pointer())

    def number_of(self, count: Value) -> Value:
        """A count as a float."""
        return self._builder.sitofp(self._count(count), self._float)

    def pointer_to(self, address: Value) -> Value:
        """A count that is the address of floats, as their pointer."""
        return self._builder.inttoptr(address, self._float.as_pointer())

    def add(self, x: Value, y: Value) -> Value:
        return self._builder.fadd(x, y)

    def subtract(self, x: Value, y: Value) -> Value:
        return self._builder.fsub(x, y)

    def multiply(self, x: Value, y: Value) -> Value:
        return self._builder.fmul(x, y)

    def divide(self, x: Value, y: Value) -> Value:
        return self._builder.fdiv(x, y)

    def larger(self, x: Value, y: Value) -> Value:
        return self._builder.select(self._builder.fcmp_ordered(">", x, y), x, y)

    def multiply_add(self, x: Value, y: Value | float, z: Value) -> Value:
        """x y + z, rounded once."""
        name = f"llvm.fma.v{self.lanes}f32"
        function = self._module.globals.get(name)
        if function is None:
            kind = self._ir.FunctionType(self._vector, [self._vector] * 3)
            function = self._ir.Function(self._module, kind, name)
        return self._builder.call(function, [x, self.everywhere(y) if isinstance(y, float) else y, z])

    @contextmanager
    def loop(self, stop: Value, step: Value = 1, *, start: Value = 0, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """What is written in the block is done for every index of range(start, stop, step).

        Args:
            carried: values that one turn hands to the next; in `Loop.now` there are the last ones afterwards.
        """
        builder, before = self._builder, self._builder.block
        head, body, end = (self._function.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        index = builder.phi(self._int)
        index.add_incoming(self._count(start), before)
        now = [builder.phi(value.type) for value in carried]
        for phi, value in zip(now, carried, strict=True):
            phi.add_incoming(value, before)
        builder.cbranch(self.below(index, stop), body, end)
        builder.position_at_end(body)
        loop = Loop(index, now)
        yield loop
        index.add_incoming(self.plus(index, step), builder.block)
        for phi, value in zip(now, loop.next, strict=True):
            phi.add_incoming(value, builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        with self._builder.if_then(condition):
            yield

    @contextmanager
    def otherwise(self, condition: Value) -> Iterator[None]:
        with self._builder.if_then(self._builder.not_(condition)):
            yield

    def call(self, name: str, **arguments: Value) -> None:
        """Another function of the module."""
        function = self._module.globals[name]
        given = [self._count(arguments[argument.name]) for argument in function.args]
        self._builder.call(function, given)

    def _count(self, x: Value) -> Value:
        return self._int(x) if isinstance(x, int) else x


def new_module() -> Any:
    """Where functions are written."""
    return import_module("llvmlite.ir").Module()


def compiled(module: Any, lanes: int, functions: dict[str, Sequence[str]]) -> dict[str, Native]:
    """Machine code of a module's functions, which do not hold Python's lock while they run.

    Args:
        lanes: floats in a vector, see `PROCESSORS`.
        functions: the kinds of the parameters of each, by its name.

    Raises:
        RuntimeError: when LLVM does not make code for this processor.
    """
    llvm: Any = import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    processor, features = PROCESSORS[lanes]
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(cpu=processor, features=features, opt=3, jit=True)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    made: dict[str, Native] = {}
    for name, kinds in functions.items():
        native = ctypes.CFUNCTYPE(None, *(_C_TYPES[kind] for kind in kinds))(engine.get_function_address(name))
        native.engine = engine  # type: ignore[attr-defined]  # the code lives as long as what calls it
        made[name] = native
    return made
