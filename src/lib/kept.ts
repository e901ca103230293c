/**
 * What parts keep with a value that comes past all of them. Each declares its own member (`declare module`) and looks at no
 * other's; a Map from those values would do, but for what bag.ts tells.
 */

/** With an exchange, while it is here. */
// biome-ignore lint/suspicious/noEmptyInterface: its members are the parts'
export interface Kept {}

/** With a target, beside what it was made of: other exchanges that ask for the same have it too. */
// biome-ignore lint/suspicious/noEmptyInterface: its members are the parts'
export interface Derived {}

/** With a credential that comes with each request of its sender, beside what it was found in. */
// biome-ignore lint/suspicious/noEmptyInterface: its members are the parts'
export interface Found {}
