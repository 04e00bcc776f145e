use super::*;
use crate::testing::Desk;

/// What is said of a Dockerfile.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    assert_eq!(Desk::new(text).found(), expected, "for `{text}`");
}

#[test]
fn names_of_stages() {
    check("FROM scratch AS Base", &["StageNameCasing: Stage name 'Base' should be lowercase (line 1)"]);
    check("FROM scratch as a", &["FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"]);
    check(
        "FROM scratch AS a\nFROM scratch AS a",
        &["DuplicateStageName: Duplicate stage name \"a\", stage names should be unique (line 2)"],
    );
    check(
        "FROM scratch AS context",
        &[
            "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)",
        ],
    );
}

#[test]
fn how_instructions_are_written() {
    check(
        "FROM scratch\ncopy a b\nCOPY c d",
        &[
            "ConsistentInstructionCasing: Command 'copy' should match the case of the command majority (uppercase) (line 2)",
        ],
    );
    check("FROM scratch\nLABEL a=1 \\\n\n b=2", &["NoEmptyContinuation: Empty continuation line (line 4)"]);
    check(
        "FROM scratch\nMAINTAINER me",
        &["MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"],
    );
    check(
        "FROM scratch\nENV a b",
        &[
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
        ],
    );
    check(
        "FROM alpine\nCMD a\nCMD [\"b\"]",
        &[
            "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
            "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
        ],
    );
    check("FROM alpine\nSHELL [\"x\"]\nENTRYPOINT a", &[]);
    check(
        "FROM scratch\nWORKDIR a\nWORKDIR b",
        &[
            "WorkdirRelativePath: Relative workdir \"a\" can have unexpected results if the base image changes (line 2)",
        ],
    );
    check(
        "FROM scratch\nEXPOSE 80/TCP 1.2.3.4:80:81",
        &[
            "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '1.2.3.4:80:81' (line 2)",
            "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
        ],
    );
}

#[test]
fn arguments_and_variables() {
    check(
        "ARG VERSION=latest\nFROM alpine$VERSIN",
        &["UndefinedArgInFrom: FROM argument 'VERSIN' is not declared (did you mean VERSION?) (line 2)"],
    );
    check(
        "ARG V\nFROM alpine:$V",
        &[
            "InvalidDefaultArgInFrom: Default value for ARG alpine:$V results in empty or invalid base image name (line 2)",
        ],
    );
    check(
        "FROM alpine\nARG DIR=/a\nCOPY $DIRR $PTH /\nRUN echo $x",
        &[
            "UndefinedVar: Usage of undefined variable '$DIRR' (did you mean $DIR?) (line 3)",
            "UndefinedVar: Usage of undefined variable '$PTH' (did you mean $PATH?) (line 3)",
        ],
    );
    check(
        "FROM --platform=$TARGETPLATFORM alpine",
        &[
            "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
        ],
    );
    check("FROM --platform=$BUILDPLATFORM alpine", &[]);
    check(
        "FROM --platform=linux/amd64 alpine",
        &[
            "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/amd64\" (line 1)",
        ],
    );
    check("FROM --platform=linux/amd64 alpine AS amd64", &[]);
    check(
        "FROM scratch\nARG API_KEY\nENV TOKEN=x PUBLIC_KEY=y KEYS=z",
        &[
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"API_KEY\") (line 2)",
            "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ENV \"TOKEN\") (line 3)",
        ],
    );
    check(
        "FROM --platform=linux/arm64 alpine AS arm64",
        &[
            "InvalidBaseImagePlatform: Base image alpine was pulled with platform \"linux/amd64\", expected \"linux/arm64\" for current build (line 1)",
        ],
    );
}

#[test]
fn files_that_the_context_lacks() {
    let check = |ignore: &str, expected: &[&str]| {
        let mut desk = Desk::new("FROM scratch\nCOPY a/b /\nADD c .d /\nCOPY . /");
        desk.file("context", ".dockerignore", ignore);
        assert_eq!(desk.found(), expected, "for `{ignore}`");
    };
    check(
        "a\nc",
        &[
            "CopyIgnoredFile: Attempting to Copy file \"a/b\" that is excluded by .dockerignore (line 2)",
            "CopyIgnoredFile: Attempting to Add file \"c\" that is excluded by .dockerignore (line 3)",
        ],
    );
    check("a\n!a/b", &[]);
    check(
        ".*",
        &["CopyIgnoredFile: Attempting to Add file \".d\" that is excluded by .dockerignore (line 3)"],
    );
}

#[test]
fn comments_describe_only_where_that_is_wanted() {
    let text = "# no\nFROM scratch AS a\n# b fine\nARG b\n# c no\nARG d e\n";
    check(text, &[]);
    check(
        &format!("# check=experimental=all\n{text}"),
        &[
            "InvalidDefinitionDescription: Comment for FROM should follow the format: `# a <description>` (line 3)",
            "InvalidDefinitionDescription: Comment for ARG should follow the format: `# <arg_key> <description>` (line 7)",
        ],
    );
}

#[test]
fn rules_can_be_left_out() {
    let text = "FROM scratch AS Base\nENV a b\n# check=skip=LegacyKeyValueFormat\nENV a b\n";
    check(
        text,
        &[
            "StageNameCasing: Stage name 'Base' should be lowercase (line 1)",
            "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
        ],
    );
    check(&format!("# check=skip=all\n{text}"), &[]);
    check(
        &format!("# check=skip=LegacyKeyValueFormat\n{text}"),
        &["StageNameCasing: Stage name 'Base' should be lowercase (line 2)"],
    );
    let desk = Desk::new(text).with("build-arg:BUILDKIT_DOCKERFILE_CHECK", "skip=StageNameCasing;error=true");
    assert_eq!(desk.definition(), [": lint violation found for rules: LegacyKeyValueFormat"]);
    let error = |text| Rules::read(text).expect_err(text);
    assert_eq!(error("x"), "invalid check option \"x\"");
    assert_eq!(error("x=y"), "invalid check option \"x\"");
    assert!(error("error=y").starts_with("failed to parse check option \"error=y\""));
    check("# check=x\nFROM scratch", &[]);
    assert_eq!(
        Desk::new("# check=x\nFROM scratch").definition(),
        [": failed to parse check options: invalid check option \"x\""]
    );
}
