/**
 * A node's circuit: after repeated failures to connect it refuses at once, then lets one try through after a jittered
 * delay. A lifecycle as a union; time is handed in.
 */

export interface CircuitOptions {
  /** Failures in a row that open it. */
  readonly failures: number;
  /** Milliseconds it stays open the first time; doubled up to `maxOpenMs`. */
  readonly openMs: number;
  readonly maxOpenMs: number;
  /** Milliseconds that one try may take before another is let through. */
  readonly probeMs: number;
}

type State =
  | { readonly state: "closed"; readonly failures: number }
  | {
      readonly state: "open";
      readonly untilMs: number;
      readonly openMs: number;
      readonly reason: string;
    }
  | {
      readonly state: "probing";
      readonly untilMs: number;
      readonly openMs: number;
      readonly reason: string;
    };

export interface Circuit {
  /** The last reason when no try is let through now, undefined when one is. */
  refusal(): string | undefined;
  /** Its reason while no connection may be tried; asking changes nothing. */
  readonly reason: string | undefined;
  succeeded(): void;
  failed(reason: string): void;
  readonly isOpen: boolean;
}

/** For who is to be tried each time. */
export const closedCircuit: Circuit = {
  refusal: () => undefined,
  reason: undefined,
  succeeded: () => undefined,
  failed: () => undefined,
  isOpen: false,
};

export const createCircuit = (
  { now, random }: { readonly now: () => number; readonly random: () => number },
  options: CircuitOptions,
): Circuit => {
  let current: State = { state: "closed", failures: 0 };

  const open = (openMs: number, reason: string): void => {
    const untilMs = now() + openMs * (0.75 + random() / 2); // jitter, so that gateways do not probe together
    current = { state: "open", untilMs, openMs, reason };
  };

  return {
    refusal() {
      if (current.state === "closed") return undefined;
      if (now() < current.untilMs) return current.reason;
      const { openMs, reason } = current;
      current = { state: "probing", untilMs: now() + options.probeMs, openMs, reason };
      return undefined;
    },
    get reason() {
      return current.state === "open" && now() < current.untilMs ? current.reason : undefined;
    },
    succeeded() {
      if (current.state !== "closed" || current.failures > 0)
        current = { state: "closed", failures: 0 };
    },
    failed(reason) {
      switch (current.state) {
        case "closed":
          if (current.failures + 1 < options.failures)
            current = { state: "closed", failures: current.failures + 1 };
          else open(options.openMs, reason);
          return;
        case "probing":
          return open(Math.min(current.openMs * 2, options.maxOpenMs), reason);
        case "open":
          return; // a straggler from before it opened
      }
    },
    get isOpen() {
      return current.state !== "closed";
    },
  };
};
