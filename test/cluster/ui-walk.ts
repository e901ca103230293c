/**
 * What a person does in Nomad's own web UI, page by page. Each step says what the page must show; what the page asked for
 * meanwhile is looked at afterwards. The pages of a released binary carry no marks for tests: words and classes are what there is.
 */
import { type Page, patienceMs } from "../support/browser.ts";
import { until } from "../support/processes.ts";

/** What one walk is about: its own job, so that two walks beside each other do not meet. */
export interface Walk {
  readonly page: Page;
  readonly origin: string;
  readonly secret: string;
  readonly job: string;
  readonly allocation: string;
  readonly node: string;
  readonly server: string;
  /** Changes how many of its job are wanted, from elsewhere. */
  readonly scale: (count: number) => Promise<void>;
  /** Makes agents say something in their logs. */
  readonly stir: () => Promise<void>;
}

export interface Step {
  readonly name: string;
  readonly walk: (walk: Walk) => Promise<void>;
}

const pathOf = (url: string): string => url.replace(/^\w+:\/\/[^/]+/, "");

/** Waits until the page has asked for it and got `status`, so often since `before` requests. */
export const answered = async (
  { page }: Walk,
  wanted: RegExp,
  { status = 200, times = 1, before = 0 } = {},
): Promise<void> => {
  const found = () => page.asked.slice(before).filter(({ url }) => wanted.test(pathOf(url)));
  await until(
    () =>
      `${wanted} is ${status} ${times}×: ${found().map((one) => `${one.status} ${one.failed ?? ""}`)}`,
    () => found().filter((one) => one.status === status).length >= times,
    patienceMs,
  );
};

export const go = ({ page, origin }: Walk, path: string): Promise<void> =>
  page.open(`${origin}/ui${path}`);

/** A button that asks whether one is sure. */
export const confirm = async ({ page }: Walk, words: string): Promise<void> => {
  await page.click("button", words);
  await page.click("button", `Yes, ${words}`);
};

export const jobOf = ({ job }: Walk): string => `${job}@default`;
export const logBox = `document.querySelector(".boxed-section-body.is-dark")`;
