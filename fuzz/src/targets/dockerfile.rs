//! Dockerfiles, for both builders, and the patterns beside them.

use std::collections::BTreeMap;

use dockerfile::classic::Dockerfile;
use dockerfile::{
    Answer, Built, Client, DockerfileSource, FrontRequest, ResolveOptions, ResolvedImage, Warning, build,
    ignore,
};
use futures::executor::block_on;
use llb::pb;
use oci::{Digest, ImageConfig, Platform};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "dockerfile",
    shape: Shape::Plain,
    examples,
    words: &[
        "FROM ",
        "FROM alpine AS a\n",
        "RUN ",
        "COPY ",
        "ADD ",
        "ENV ",
        "ARG ",
        "ONBUILD ",
        "HEALTHCHECK ",
        "--mount=type=",
        "--from=",
        "--chmod=",
        "--link",
        "--parents",
        "<<EOF\n",
        "\nEOF\n",
        "<<-'E'",
        "${a:-",
        "${a//",
        "}",
        "$",
        "\\\n",
        "[\"",
        "\"]",
        "# escape=`\n",
        "# syntax=",
        "# check=skip=",
        "\r\n",
        "!",
        "**",
        "/../",
        "https://h/a.git#b:c",
        "--exclude=",
    ],
    read,
    turns: 1500,
};

fn read(text: &[u8]) -> bool {
    let desk = Desk { dockerfile: text.to_vec() };
    let request = |option: Option<(&str, &str)>| FrontRequest {
        options: option.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        inputs: BTreeMap::new(),
        platform: Platform::new("linux", "amd64", ""),
    };
    let built = block_on(build(request(None), &desk));
    if let Ok(Built::Images { images, .. }) = &built {
        for image in images {
            // What is made of any Dockerfile is a definition, or nothing at all.
            let read = llb::Graph::read(&image.definition, llb::Limits::default());
            assert!(read.is_ok(), "a definition of ours is none: {:?}", read.err());
            assert!(ImageConfig::parse(&image.config).is_ok(), "a configuration of ours is none");
        }
    }
    let _ = block_on(build(request(Some(("requestid", "frontend.lint"))), &desk));
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Dockerfile::parse(text);
        if let Ok(ignored) = ignore::Ignore::parse(text) {
            let _ = ignored.excludes("a/b/c.txt");
        }
    }
    built.is_ok()
}

/// Whoever runs the build: any image is there, and the Dockerfile is the only file.
struct Desk {
    dockerfile: Vec<u8>,
}

impl Client for Desk {
    fn resolve_image<'a>(&'a self, name: &'a str, _: ResolveOptions<'a>) -> Answer<'a, ResolvedImage> {
        Box::pin(async move {
            let mut config = ImageConfig::for_platform(&Platform::new("linux", "amd64", ""));
            config.config.on_build = vec!["RUN of the base".to_owned()];
            config.config.env = vec!["PATH=/bin".to_owned()];
            let digest = Some(Digest::sha256_of(name.as_bytes()));
            Ok(ResolvedImage { name: name.to_owned(), digest, config: config.to_bytes() })
        })
    }

    fn read_files<'a>(
        &'a self,
        _: &'a pb::Definition,
        paths: &'a [String],
        limit: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(self.dockerfile.len());
        let read =
            move |path: &String| path.ends_with("Dockerfile").then(|| self.dockerfile[..limit].to_vec());
        Box::pin(async move { Ok(paths.iter().map(read).collect()) })
    }

    fn warn(&self, _: &DockerfileSource, warning: &Warning) {
        let _ = warning.short();
    }

    fn session(&self) -> &str {
        "session"
    }
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "FROM alpine\nRUN apk add curl && echo done\nCMD [\"sh\", \"-c\", \"true\"]\n",
        "# syntax=docker/dockerfile:1\nARG V=3\nFROM alpine:${V:-latest} AS base\nFROM base\nENV A=b C=\"d e\"\nWORKDIR /a/b\n\
         COPY --from=base --chmod=0755 --chown=1:2 x* y/ /z/\nADD https://h/a.git#main:sub /src\n",
        "FROM alpine AS a\nRUN --mount=type=cache,target=/c,sharing=locked --mount=type=secret,id=s,required \\\n  make $A\n\
         FROM scratch\nCOPY --from=a --link --parents ./a/./b /\nLABEL x=y\nEXPOSE 80/tcp 90-92/udp\nVOLUME [\"/v\"]\n\
         HEALTHCHECK --interval=1m30s --retries=3 CMD true\nUSER 1000:1000\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/bash\"]\n",
        "FROM alpine\nCOPY <<EOF <<-'B' /x/\n$A ${b#*c} ${d%%e*} ${f/g/h}\nEOF\n\traw $A\n\tB\nRUN <<S\nset -e\nls\nS\n\
         ONBUILD COPY . .\nENTRYPOINT exec top -b\n",
        "# escape=`\nFROM --platform=$BUILDPLATFORM alpine`\n  AS `\n b\nARG TARGETARCH\nRUN echo `\n # comment\n $TARGETARCH\n",
        "*.log\n!keep.log\n/a/**/b\n# comment\n../c\n[a-z]?x\n",
    ])
}
