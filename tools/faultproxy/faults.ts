/** What can go wrong with one call. */
export type FaultKind =
  /** 503 RequestLimitExceeded, as EC2 throttles. */
  | 'throttle'
  /** 503 Unavailable. */
  | 'unavailable'
  /** 500 InternalError. */
  | 'internalError'
  /** 403 UnauthorizedOperation, as a policy denies. */
  | 'unauthorized'
  /** 500 with a page of HTML, as a load balancer on the way answers. */
  | 'html'
  /** The connection is cut before the call is forwarded. */
  | 'reset'
  /** The call is carried out, and its answer is lost. */
  | 'lostReply'
  /** No answer, and the call is not forwarded. */
  | 'hang'
  /** Forwarded after `ms`. */
  | 'delay'
  /** What the same call was answered the last time before; forwarded where it was never made. */
  | 'stale';

/** A fault for the next calls that fit. */
export interface FaultRule {
  /** An EC2 action such as `ReplaceRoute`, or `*`. */
  readonly action: string;
  readonly fault: FaultKind;
  /** How many calls it takes. Default: 1. */
  readonly times?: number;
  /** Only calls whose body contains this text, such as the id of a route table. */
  readonly contains?: string;
  /** For `delay`. Default: 1000. */
  readonly ms?: number;
}

/** A token bucket: each call takes one, `perSecond` come back, at most `size` are kept. */
export interface Bucket {
  readonly size: number;
  readonly perSecond: number;
}

export interface TracedCall {
  /** Milliseconds since the proxy started, monotonic. */
  readonly atMs: number;
  readonly action: string;
  readonly body: string;
  readonly fault: FaultKind | undefined;
}

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const ERRORS = {
  throttle: [503, 'RequestLimitExceeded', 'Request limit exceeded.'],
  unavailable: [503, 'Unavailable', 'The service is unavailable. Please try again shortly.'],
  internalError: [500, 'InternalError', 'An internal error has occurred'],
  unauthorized: [403, 'UnauthorizedOperation', 'You are not authorized to perform this operation.'],
} as const;

/** The answer of a fault that has one; EC2 answers in XML, EFS in JSON. */
export function answerOf(fault: FaultKind, efs: boolean): Answer | undefined {
  if (fault === 'html') return { status: 500, type: 'text/html', body: '<html><body>Bad gateway</body></html>' };
  if (!(fault in ERRORS)) return undefined;
  const [status, code, message] = ERRORS[fault as keyof typeof ERRORS]; // tested in the line above
  if (efs) return { status, type: 'application/json', body: JSON.stringify({ ErrorCode: code, Message: message }) };
  return {
    status,
    type: 'text/xml;charset=UTF-8',
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>${code}</Code><Message>${message}</Message></Error></Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>`,
  };
}
