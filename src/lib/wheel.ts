/**
 * Many beats from one timer: each comes once a period, in the phase in which it was added, so that thousands never come at
 * once. The timer runs only while there are some.
 */

/** What has a beat; it must not throw. */
export interface Beating {
  beat(): void;
}

/** The answer takes it away; call it once. */
export type Wheel = (beating: Beating) => () => void;

const phases = 20;

export const createWheel = (periodMs: number): Wheel => {
  const wheel = Array.from({ length: phases }, () => new Set<Beating>());
  let timer: NodeJS.Timeout | undefined;
  let now = 0;
  let count = 0;

  const turn = (): void => {
    now = (now + 1) % phases;
    for (const beating of wheel[now] ?? []) beating.beat();
  };

  return (beating) => {
    const phase = wheel[now];
    phase?.add(beating);
    count++;
    timer ??= setInterval(turn, periodMs / phases);
    return () => {
      if (!phase?.delete(beating)) return;
      count--;
      if (count > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  };
};
