/** How a connection hands over what it reads. */

export interface Intake {
  /** Where the next read goes. */
  readonly buffer: () => Uint8Array;
  /** So many bytes of that buffer have come. False: read no more until the socket is resumed. */
  readonly came: (count: number) => boolean;
  /** Bytes that came in memory of their own. False as above. */
  readonly given: (bytes: Buffer) => boolean;
}
