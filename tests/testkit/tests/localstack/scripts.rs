//! Scripts for boto3.

/// Reads back a text and binary values; the latter also as a later version and in a batch. Then
/// uses each service beside Secrets Manager.
pub(crate) const ROUND_TRIP: &str = r#"
client.create_secret(Name="text", SecretString="hello")
print(client.get_secret_value(SecretId="text")["SecretString"])
client.create_secret(Name="binary", SecretBinary=b"\xff\x00a")
print(client.get_secret_value(SecretId="binary")["SecretBinary"])
client.put_secret_value(SecretId="binary", SecretBinary=b"\xff\x00bc")
print(client.get_secret_value(SecretId="binary")["SecretBinary"])
client.update_secret(SecretId="binary", SecretBinary=b"\xff\x00")
print(client.batch_get_secret_value(SecretIdList=["binary"])["SecretValues"][0]["SecretBinary"])
key = boto3.client("kms").create_key()["KeyMetadata"]["KeyId"]
sealed = boto3.client("kms").encrypt(KeyId=key, Plaintext=b"hello")["CiphertextBlob"]
print(boto3.client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"])
print(boto3.client("sts").get_caller_identity()["Account"])
"#;

/// Definitions for the scripts of [`DOCUMENTED`]. Versions are numbers, padded to be tokens.
pub(crate) const DEFINITIONS: &str = r#"
from concurrent.futures import ThreadPoolExecutor
# boto3 sends invalid requests, so that the server has to reject them.
client = boto3.client("secretsmanager", config=Config(
    retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=16))
def id(number):
    return number and f"{number:032}"
def error(call, *arguments, **request):
    try:
        call(*arguments, **request)
        return {"Code": "done"}
    except ClientError as error:
        return error.response["Error"]
def code(call, *arguments, **request):
    return error(call, *arguments, **request)["Code"].removesuffix("Exception")
def create(name, number=1, **request):
    value = request or {"SecretString": f"value {number}"}
    return client.create_secret(Name=name, ClientRequestToken=id(number), **value)
def put(name, number, *labels):
    labels = {"VersionStages": labels} if labels else {}
    value = f"value {number}"
    return client.put_secret_value(
        SecretId=name, ClientRequestToken=id(number), SecretString=value, **labels)
def move(name, label, remove=None, to=None):
    ids = {"RemoveFromVersionId": id(remove), "MoveToVersionId": id(to)}
    ids = {key: value for key, value in ids.items() if value}
    client.update_secret_version_stage(SecretId=name, VersionStage=label, **ids)
def pages(name, **request):
    while True:
        answer = client.list_secret_version_ids(SecretId=name, **request)
        yield answer["Versions"]
        if "NextToken" not in answer:
            return
        request["NextToken"] = answer["NextToken"]
def versions(name):
    found = [it for page in pages(name, IncludeDeprecated=True) for it in page]
    return {int(it["VersionId"]): sorted(it.get("VersionStages", [])) for it in reversed(found)}
def get(name, number=None):
    return client.get_secret_value(SecretId=name, **({"VersionId": id(number)} if number else {}))
def changed(name):
    return client.describe_secret(SecretId=name)["LastChangedDate"]
def at_once(call):
    with ThreadPoolExecutor(16) as threads:
        codes = list(threads.map(lambda number: code(call, number), range(16)))
    return ", ".join(f"{codes.count(it)} {it}" for it in sorted(set(codes)))
"#;

/// Scripts, and their output on a server that behaves as AWS documents.
pub(crate) const DOCUMENTED: [(&str, &str); 9] = [
    // UpdateSecretVersionStage refuses as a whole, and moves labels without a loss of versions.
    (
        r#"
create("move")
put("move", 2)
put("move", 3, "CUSTOM", "OTHER")
print(versions("move"))
before, labels = changed("move"), versions("move")
refused = [("AWSCURRENT", None, 1), ("AWSCURRENT", 1, 3), ("AWSCURRENT", 2), ("CUSTOM", None, 1),
           ("CUSTOM", 2, 1), ("CUSTOM", 2), ("NEW", 2, 1), ("CUSTOM", 3, 9), ("CUSTOM", 9, 1)]
print({code(move, "move", *arguments) for arguments in refused}, end=" ")
print(versions("move") == labels and changed("move") == before)
move("move", "CUSTOM", 3, 1)
move("move", "OTHER", 3)
print(versions("move"), changed("move") > before)
move("move", "AWSCURRENT", 2, 3)
print(versions("move"), get("move")["SecretString"])
move("move", "AWSCURRENT", 3, 2)
move("move", "CUSTOM", 1)
move("move", "CUSTOM", None, 3)
move("move", "CUSTOM", None, 3)
print(versions("move"), get("move", 1)["SecretString"], get("move", 1)["VersionStages"])
print([len(page) for page in pages("move")])
"#,
        r"
{1: ['AWSPREVIOUS'], 2: ['AWSCURRENT'], 3: ['CUSTOM', 'OTHER']}
{'InvalidParameter'} True
{1: ['AWSPREVIOUS', 'CUSTOM'], 2: ['AWSCURRENT'], 3: []} True
{1: ['CUSTOM'], 2: ['AWSPREVIOUS'], 3: ['AWSCURRENT']} value 3
{1: [], 2: ['AWSCURRENT'], 3: ['AWSPREVIOUS', 'CUSTOM']} value 1 []
[2]
",
    ),
    // PutSecretValue moves the labels that it names and AWSPREVIOUS, and no others.
    (
        r#"
create("put")
put("put", 2, "CUSTOM")
put("put", 3, "CUSTOM", "OTHER")
print(versions("put"))
put("put", 4, "AWSCURRENT", "OTHER")
put("put", 5)
print(versions("put"), get("put", 2)["SecretString"])
for name, labels in ("first", []), ("labelled", ["CUSTOM"]):
    client.create_secret(Name=name)
    print(code(get, name), put(name, 1, *labels)["VersionStages"], put(name, 1)["VersionStages"])
for number in range(6, 110):
    put("put", number)
print(sum(labels == [] for labels in versions("put").values()))
"#,
        r"
{1: ['AWSCURRENT'], 2: [], 3: ['CUSTOM', 'OTHER']}
{1: [], 2: [], 3: ['CUSTOM'], 4: ['AWSPREVIOUS', 'OTHER'], 5: ['AWSCURRENT']} value 2
ResourceNotFound ['AWSCURRENT'] ['AWSCURRENT']
ResourceNotFound ['CUSTOM', 'AWSCURRENT'] ['CUSTOM', 'AWSCURRENT']
100
",
    ),
    // A deleted secret is refused to all but DescribeSecret and RestoreSecret.
    (
        r#"
create("deleted")
put("deleted", 2)
client.delete_secret(SecretId="deleted")
print({code(put, "deleted", 2), code(create, "deleted"), code(versions, "deleted"),
       code(get, "deleted"), code(client.delete_secret, SecretId="deleted"),
       code(client.get_secret_value, SecretId="deleted", VersionStage="NONE")})
refused = [
    (client.put_secret_value, {"SecretString": "late"}),
    (client.update_secret_version_stage, {"VersionStage": "CUSTOM", "MoveToVersionId": id(1)}),
    (client.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
    (client.untag_resource, {"TagKeys": ["a"]}),
    (client.update_secret, {"Description": "late"}),
    (client.rotate_secret, {}),
]
errors = [error(call, SecretId="deleted", **request) for call, request in refused]
print({it["Code"] for it in errors})
print({it["Message"] for it in errors})
print(code(client.describe_secret, SecretId="deleted"))
client.restore_secret(SecretId="deleted")
print(versions("deleted"))
"#,
        r#"
{'InvalidRequest'}
{'InvalidRequestException'}
{"You can't perform this operation on the secret because it was marked for deletion."}
done
{1: ['AWSPREVIOUS'], 2: ['AWSCURRENT']}
"#,
    ),
    // The same token with the same value changes nothing; with another one, it is refused.
    (
        r#"
print(create("twice")["VersionId"] == create("twice")["VersionId"] == id(1))
print(code(create, "twice", SecretString="other"), code(create, "twice", 2), versions("twice"))
create("binary/twice", SecretBinary=b"\xff")
print(code(create, "binary/twice", SecretBinary=b"\xff"), end=" ")
print(code(create, "binary/twice", SecretBinary=b"\xfe"))
put("twice", 2, "AWSPENDING")
before = changed("twice")
print(put("twice", 2, "AWSPENDING")["VersionStages"], changed("twice") == before)
print(code(client.put_secret_value, SecretId="twice", SecretString="other",
           ClientRequestToken=id(2), VersionStages=["AWSPENDING"]))
"#,
        r"
True
ResourceExists ResourceExists {1: ['AWSCURRENT']}
done ResourceExists
['AWSPENDING'] True
ResourceExists
",
    ),
    // What is too long, too many or empty is refused. A batch reports what has no value.
    (
        r#"
ids = ["twice"] * 20
print(code(client.batch_get_secret_value, SecretIdList=ids),
      code(client.batch_get_secret_value, SecretIdList=ids + ids[:1]))
for value in "x" * 65536, "\u017e" * 32769, b"\xff" * 65536, b"\xff" * 65537, "", b"":
    kind = "SecretString" if isinstance(value, str) else "SecretBinary"
    name = f"of/{kind}/{len(value)}"
    print(code(create, name, **{kind: value}), code(get, name), end=" ")
    print(code(client.put_secret_value, SecretId="twice", **{kind: value}), end=" ")
    print(code(client.update_secret, SecretId="twice", **{kind: value}))
tags = [{"Key": f"tag {number}", "Value": ""} for number in range(51)]
print(code(create, "tags", SecretString="x", Tags=tags), code(get, "tags"))
print(code(create, "tags", SecretString="x", Tags=tags[:50]), end=" ")
print(code(client.tag_resource, SecretId="tags", Tags=tags[:50]), end=" ")
print(code(client.tag_resource, SecretId="tags", Tags=tags[50:]), end=" ")
print(len(client.describe_secret(SecretId="tags")["Tags"]))
client.create_secret(Name="empty")
client.delete_secret(SecretId="deleted")
batch = client.batch_get_secret_value(SecretIdList=["twice", "empty", "deleted", "missing"])
print(len(batch["SecretValues"]), {it["SecretId"]: it["ErrorCode"][:-9] for it in batch["Errors"]})
print(code(create, "n" * 513))
"#,
        r"
done Validation
done done done done
Validation ResourceNotFound Validation Validation
done done done done
Validation ResourceNotFound Validation Validation
Validation ResourceNotFound Validation Validation
Validation ResourceNotFound Validation Validation
InvalidParameter ResourceNotFound
done done InvalidParameter 50
1 {'empty': 'ResourceNotFound', 'deleted': 'InvalidRequest', 'missing': 'ResourceNotFound'}
Validation
",
    ),
    // Versions are listed in pages.
    (
        r#"
create("pages")
for number in range(2, 6):
    put("pages", number, "CUSTOM")
found = pages("pages", IncludeDeprecated=True, MaxResults=2)
print([[int(it["VersionId"]) for it in page] for page in found])
print([len(page) for page in pages("pages", MaxResults=1)])
print(code(client.list_secret_version_ids, SecretId="pages", NextToken="bad"),
      code(client.list_secrets, NextToken="bad"))
"#,
        r"
[[5, 4], [3, 2], [1]]
[1, 1]
InvalidNextToken InvalidNextToken
",
    ),
    // Versions have dates in milliseconds; a secret has the date of its last change.
    (
        r#"
made = [create("dates")] + [put("dates", number) for number in range(2, 7)]
listed = client.list_secret_version_ids(SecretId="dates", IncludeDeprecated=True)["Versions"]
dates = [it["CreatedDate"] for it in listed]
print(sorted(set(dates), reverse=True) == dates, any(it.microsecond for it in dates), end=" ")
print([get("dates", int(it["VersionId"]))["CreatedDate"] for it in listed] == dates, end=" ")
batch = client.batch_get_secret_value(SecretIdList=["dates"])["SecretValues"]
print(batch[0]["CreatedDate"] == dates[0])
last = changed("dates")
for call, request in [
    (client.put_secret_value, {"SecretString": "x"}),
    (client.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
    (client.untag_resource, {"TagKeys": ["a"]}),
    (client.update_secret, {"Description": "new"}),
    (client.update_secret_version_stage, {"VersionStage": "CUSTOM", "MoveToVersionId": id(1)}),
    (client.delete_secret, {}),
    (client.restore_secret, {}),
]:
    call(SecretId="dates", **request)
    last, before = changed("dates"), last
    print(last > before, end=" ")
get("dates")
print(changed("dates") == last)
"#,
        r"
True True True True
True True True True True True True True
",
    ),
    // Of concurrent requests, one wins.
    (
        r#"
create("moves")
for number in range(2, 18):
    put("moves", number)
outcomes = set()
for round in range(2):
    current = int(get("moves")["VersionId"])
    others = [it for it in versions("moves") if it != current]
    created = at_once(lambda number: create(f"race/{round}", number + 1))
    moved = at_once(lambda number: move("moves", "AWSCURRENT", current, others[number]))
    labels = versions("moves")
    all = sorted(sum(labels.values(), []))
    outcomes.add("; ".join([created, moved, *labels[current], ", ".join(all)]))
for outcome in outcomes:
    print(outcome)
print(at_once(lambda number: put("moves", number + 18)), len(versions("moves")), sep="; ")
"#,
        r"
15 ResourceExists, 1 done; 15 InvalidParameter, 1 done; AWSPREVIOUS; AWSCURRENT, AWSPREVIOUS
16 done; 33
",
    ),
    // A rotation replaces the value, unless another one is in progress.
    (
        r#"
create("rotated")
def rotate(number, **request):
    return client.rotate_secret(SecretId="rotated", ClientRequestToken=id(number), **request)
print(code(rotate, 2), code(rotate, 2, RotationLambdaARN=function + "s"))
made = rotate(2, RotationLambdaARN=function, RotationRules={"AutomaticallyAfterDays": 30})
described = client.describe_secret(SecretId="rotated")
print(made["VersionId"] == id(2), get("rotated")["SecretString"].replace(id(2), "2"))
print(described["RotationEnabled"], described["RotationLambdaARN"] == function)
print(code(rotate, 3), versions("rotated"), get("rotated", 1)["SecretString"])
put("rotated", 4, "AWSPENDING")
print(code(rotate, 5), versions("rotated"))
"#,
        r"
InvalidRequest ResourceNotFound
True rotated 2
True True
done {1: [], 2: ['AWSPREVIOUS'], 3: ['AWSCURRENT', 'AWSPENDING']} value 1
InvalidRequest {1: [], 2: ['AWSPREVIOUS'], 3: ['AWSCURRENT'], 4: ['AWSPENDING']}
",
    ),
];

/// Prints the error of a request to a server that does not answer.
pub(crate) const READ_TIMEOUT: &str = r#"
once = {"total_max_attempts": 1}
client = boto3.client("secretsmanager", config=Config(read_timeout=0.2, retries=once))
try:
    client.list_secrets()
except Exception as error:
    print(type(error).__name__)
"#;
