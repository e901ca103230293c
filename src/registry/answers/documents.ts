/** Reading documents whose fields may be left out, and the forms that several answers share. */
import type { AllocationDocument } from "../../documents.ts";
import type { Acl } from "../../ports.ts";

type Fields = Readonly<Record<string, unknown>>;

const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const fieldsOf = (value: unknown): Fields => (isFields(value) ? value : {});

export const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

export const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

export const numberOf = (value: unknown): number =>
  typeof value === "number" || typeof value === "bigint" ? Number(value) : 0;

/** What Go's encoders leave out at the top of an allocation. */
const isZero = (value: unknown): boolean => {
  if (value === undefined || value === null || value === false || value === "") return true;
  if (value === 0 || value === 0n) return true;
  if (Array.isArray(value)) return value.length === 0;
  return isFields(value) && Object.values(value).every((member) => member === null);
};

/** The named fields that are not zero, in the order of their names. */
export const filledFields = (document: Fields, names: readonly string[]): Fields =>
  Object.fromEntries(
    names.filter((name) => !isZero(document[name])).map((name) => [name, document[name]]),
  );

/** Whether a namespace's items may be shown: the one that was asked for, or with `*` each that holds the capability. */
export const namespaceTest = (
  acl: Acl,
  asked: string,
  capability: string,
): ((namespace: string) => boolean) => {
  if (asked !== "*") return (namespace) => namespace === asked;
  return permittedTest(acl, capability);
};

/** Whether a namespace holds the capability, decided once for each. */
export const permittedTest = (acl: Acl, capability: string): ((namespace: string) => boolean) => {
  const known = new Map<string, boolean>();
  return (namespace) => {
    const decided = known.get(namespace) ?? acl.namespace(namespace, capability);
    known.set(namespace, decided);
    return decided;
  };
};

export const isLive = ({ ClientStatus }: AllocationDocument): boolean =>
  ClientStatus === "pending" || ClientStatus === "running" || ClientStatus === "unknown";
