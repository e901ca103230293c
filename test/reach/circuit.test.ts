/** The circuit's life, on a clock of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createCircuit } from "../../src/reach/circuit.ts";

const circuitAt = (random = 0.5) => {
  let nowMs = 0;
  const circuit = createCircuit(
    { now: () => nowMs, random: () => random },
    { failures: 3, openMs: 1_000, maxOpenMs: 3_000, probeMs: 500 },
  );
  return {
    circuit,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
};

test("it opens after failures in a row, and a success in between starts the count anew", () => {
  const { circuit } = circuitAt();
  circuit.failed("a");
  circuit.failed("a");
  circuit.succeeded();
  circuit.failed("a");
  circuit.failed("a");
  assert.equal(circuit.refusal(), undefined);
  circuit.failed("connection refused");
  assert.equal(circuit.refusal(), "connection refused");
  assert.equal(circuit.isOpen, true);
});

test("after its delay it lets one through, and that one decides", () => {
  const { circuit, pass } = circuitAt();
  for (let nth = 0; nth < 3; nth++) circuit.failed("refused");
  pass(999);
  assert.equal(circuit.refusal(), "refused");
  pass(1);
  assert.equal(circuit.refusal(), undefined);
  assert.equal(circuit.refusal(), "refused");
  circuit.succeeded();
  assert.equal(circuit.refusal(), undefined);
  assert.equal(circuit.isOpen, false);
});

test("a failed try doubles the delay up to its bound", () => {
  const { circuit, pass } = circuitAt();
  for (let nth = 0; nth < 3; nth++) circuit.failed("refused");
  for (const openMs of [1_000, 2_000, 3_000, 3_000]) {
    pass(openMs - 1);
    assert.equal(circuit.refusal(), "refused");
    pass(1);
    assert.equal(circuit.refusal(), undefined);
    circuit.failed("refused");
  }
});

test("a try that never reports makes way for another", () => {
  const { circuit, pass } = circuitAt();
  for (let nth = 0; nth < 3; nth++) circuit.failed("refused");
  pass(1_000);
  assert.equal(circuit.refusal(), undefined);
  pass(499);
  assert.equal(circuit.refusal(), "refused");
  pass(1);
  assert.equal(circuit.refusal(), undefined);
});

test("stragglers that fail while it is open do not prolong it", () => {
  const { circuit, pass } = circuitAt();
  for (let nth = 0; nth < 3; nth++) circuit.failed("refused");
  pass(900);
  circuit.failed("refused");
  pass(100);
  assert.equal(circuit.refusal(), undefined);
});

test("the delay is spread, so that gateways do not try together", () => {
  const early = circuitAt(0);
  const late = circuitAt(0.999);
  for (const { circuit, pass } of [early, late]) {
    for (let nth = 0; nth < 3; nth++) circuit.failed("refused");
    pass(800);
  }
  assert.equal(early.circuit.refusal(), undefined);
  assert.equal(late.circuit.refusal(), "refused");
});
