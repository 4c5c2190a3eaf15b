import { describeError, PersonNeededError, RetryError } from '../base/errors.ts';

/**
 * What AWS says, in our words. Foreign codes appear in this file alone.
 *
 * Throttled, Unanswered and WrongState pass by themselves; Denied, Missing and Refused need a person. An Unanswered
 * call may have been carried out all the same.
 */
export type AwsError = Throttled | Unanswered | WrongState | Denied | Missing | Refused;

/** Too many calls: slower, then again. */
export class Throttled extends RetryError {
  override name = 'Throttled';
}

/** No answer that says anything: a time-out, a lost connection, a 5xx, a page of HTML, no credentials to be had. */
export class Unanswered extends RetryError {
  override name = 'Unanswered';
}

/** An instance is in a state that does not allow it, such as one that is to start and is still being stopped. */
export class WrongState extends RetryError {
  override name = 'WrongState';
}

/** The controller's role may not do this. */
export class Denied extends PersonNeededError {
  override name = 'Denied';
  /** As a policy names it: `ec2:ReplaceRoute`. */
  readonly action: string;
  constructor(message: string, action: string, options?: ErrorOptions) {
    super(message, options);
    this.action = action;
  }
}

/** What the call is about does not exist. */
export class Missing extends PersonNeededError {
  override name = 'Missing';
}

/** AWS understood and said no. */
export class Refused extends PersonNeededError {
  override name = 'Refused';
}

/** Stop protection: the attribute `disableApiStop` of the instance is on. */
export class StopProtected extends Refused {
  override name = 'StopProtected';
}

/** ReplaceRoute on a route that is not there: CreateRoute is the call to make. */
export class NoSuchRoute extends Refused {
  override name = 'NoSuchRoute';
}

/** CreateRoute on a route that is there: ReplaceRoute is the call to make. */
export class RouteExists extends Refused {
  override name = 'RouteExists';
}

/**
 * An error of the SDK in our words. `deed` ends the sentence "Cannot …", `action` is the API action, such as
 * `ec2:ReplaceRoute`.
 */
export function awsError(error: unknown, deed: string, action: string): AwsError {
  const { code, status, said } = readSdkError(error);
  const message = `Cannot ${deed}: ${said}`;
  const cause = { cause: error };
  if (isThrottling(code)) return new Throttled(message, cause);
  if (isDenial(code)) return new Denied(`${message}; allow ${action} in the controller's policy`, action, cause);
  if (isNoSuchRoute(code, said)) return new NoSuchRoute(message, cause);
  if (isRouteExists(code)) return new RouteExists(message, cause);
  if (isMissing(code)) return new Missing(message, cause);
  if (isStopProtected(code, said)) return new StopProtected(message, cause);
  if (WRONG_STATE.has(code)) return new WrongState(message, cause);
  if (isUnanswered(code, status)) return new Unanswered(message, cause);
  return new Refused(message, cause);
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and the SDK's own list of throttling
// codes (@smithy/service-error-classification).
const THROTTLING = new Set([
  'BandwidthLimitExceeded',
  'EC2ThrottledException',
  'PriorRequestNotComplete',
  'RequestLimitExceeded',
  'RequestThrottled',
  'RequestThrottledException',
  'SlowDown',
  'ThrottledException',
  'Throttling',
  'ThrottlingException',
  'TooManyRequestsException',
]);

const DENIAL = new Set([
  'AccessDenied',
  'AccessDeniedException',
  'AuthFailure',
  'Blocked',
  'ExpiredToken',
  'ExpiredTokenException',
  'IncompleteSignature',
  'InvalidClientTokenId',
  'MissingAuthenticationToken',
  'OptInRequired',
  'PendingVerification',
  'RequestExpired',
  'SignatureDoesNotMatch',
  'UnauthorizedOperation',
  'UnrecognizedClientException',
]);

const WRONG_STATE = new Set(['IncorrectInstanceState', 'IncorrectState']);

const MISSING = new Set(['FileSystemNotFound', 'MountTargetNotFound']);

/** Codes that come with a 4xx now and then, although the service could not do its work. */
const UNANSWERED = new Set([
  'InternalError',
  'InternalFailure',
  'InternalServerError',
  'RequestTimeout',
  'RequestTimeoutException',
  'ServiceUnavailable',
  'Unavailable',
]);

function isThrottling(code: string): boolean {
  return THROTTLING.has(code);
}

function isDenial(code: string): boolean {
  return DENIAL.has(code);
}

/** `InvalidRouteTableID.NotFound` and its like, which EC2 has one of per kind. */
function isMissing(code: string): boolean {
  return MISSING.has(code) || code.endsWith('.NotFound');
}

/**
 * ReplaceRoute has no code of its own for it, only "There is no route defined for '10.1.0.20/32' in the route table.
 * Use CreateRoute instead." DeleteRoute says InvalidRoute.NotFound.
 */
function isNoSuchRoute(code: string, said: string): boolean {
  return code === 'InvalidRoute.NotFound' || (code === 'InvalidParameterValue' && said.includes('no route defined'));
}

function isRouteExists(code: string): boolean {
  return code === 'RouteAlreadyExists';
}

/**
 * "The instance 'i-…' may not be stopped. Modify its 'disableApiStop' instance attribute and try again." The code is
 * shared with other refusals.
 */
function isStopProtected(code: string, said: string): boolean {
  return code === 'OperationNotPermitted' && said.includes('disableApiStop');
}

/** A DryRun that would have been carried out ends in this error, with status 412. */
export function isDryRunPassed(error: unknown): boolean {
  return readSdkError(error).code === 'DryRunOperation';
}

/** Without a status from the service nothing was said: time-outs, resets, name resolution, credentials, HTML. */
function isUnanswered(code: string, status: number | undefined): boolean {
  return UNANSWERED.has(code) || status === undefined || status < 400 || status >= 500;
}

interface SdkError {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly $metadata?: { readonly httpStatusCode?: unknown };
}

function readSdkError(error: unknown): { code: string; status: number | undefined; said: string } {
  if (typeof error !== 'object' || error === null) return { code: '', status: undefined, said: String(error) };
  const { name, message, $metadata } = error as SdkError; // every field is checked below
  const code = typeof name === 'string' ? name : '';
  const status = $metadata?.httpStatusCode;
  const said = typeof message === 'string' && message !== '' ? message : describeError(error);
  return { code, status: typeof status === 'number' ? status : undefined, said: code ? `${code}: ${said}` : said };
}
