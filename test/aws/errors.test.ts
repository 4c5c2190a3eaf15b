import { describe, expect, test } from 'vitest';
import {
  awsError,
  Denied,
  Missing,
  NoSuchRoute,
  Refused,
  RouteExists,
  StopProtected,
  Throttled,
  Unanswered,
  WrongState,
} from '../../src/aws/errors.ts';
import { PersonNeededError, RetryError } from '../../src/base/errors.ts';

function sdkError(name: string, httpStatusCode: number | undefined, message = 'words of AWS'): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });
}
const ours = (error: unknown) => awsError(error, 'move 10.1.0.20/32', 'ec2:ReplaceRoute');

describe('awsError()', () => {
  test.each([
    [sdkError('RequestLimitExceeded', 503), Throttled],
    [sdkError('UnauthorizedOperation', 403), Denied],
    [sdkError('InvalidRouteTableID.NotFound', 400), Missing],
    [sdkError('FileSystemNotFound', 404), Missing],
    [sdkError('InvalidRoute.NotFound', 400), NoSuchRoute],
    [
      sdkError('InvalidParameterValue', 400, "There is no route defined for '10.1.0.20/32' in the route table."),
      NoSuchRoute,
    ],
    [sdkError('InvalidParameterValue', 400), Refused],
    [sdkError('RouteAlreadyExists', 400), RouteExists],
    [
      sdkError('OperationNotPermitted', 400, "may not be stopped. Modify its 'disableApiStop' instance attribute"),
      StopProtected,
    ],
    [sdkError('OperationNotPermitted', 400), Refused],
    [sdkError('IncorrectInstanceState', 400), WrongState],
    [sdkError('InternalError', 500), Unanswered],
    [sdkError('Unavailable', 503), Unanswered],
    [sdkError('RequestTimeout', 400), Unanswered],
    [sdkError('TimeoutError', undefined), Unanswered],
    [Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' }), Unanswered],
    [new Error('XML parse error'), Unanswered],
    [sdkError('CredentialsProviderError', undefined), Unanswered],
    ['thrown text', Unanswered],
  ])('reads %s', (error, kind) => {
    const read = ours(error);
    expect(read).toBeInstanceOf(kind);
    expect(read.constructor).toBe(kind);
  });

  test('says what was tried, what AWS said, and for a denial what to allow', () => {
    const read = ours(sdkError('UnauthorizedOperation', 403));
    expect(read.message).toBe(
      "Cannot move 10.1.0.20/32: UnauthorizedOperation: words of AWS; allow ec2:ReplaceRoute in the controller's policy",
    );
    expect(read).toMatchObject({ action: 'ec2:ReplaceRoute' });
  });

  test('what passes by itself is retried, the rest is for a person', () => {
    for (const kind of [Throttled, Unanswered, WrongState]) expect(new kind('')).toBeInstanceOf(RetryError);
    for (const kind of [Missing, Refused, NoSuchRoute, RouteExists, StopProtected])
      expect(new kind('')).toBeInstanceOf(PersonNeededError);
    expect(new Denied('', 'ec2:ReplaceRoute')).toBeInstanceOf(PersonNeededError);
  });
});
