"""A run, from its configuration to its summary. The loop, and where each line of it lives::

    dataset = read, draw noise, split, check               preflight.load_everywhere, data.run_data
    training = networks, optimisers, loader, method        build.build
    go on from the newest whole checkpoint, if asked       resume.load_checkpoint, state.restore
    for each epoch:
        stage, learning rates, what a method measures      epochs.begin_epoch
        for each step:
            batch = this rank's slice of batch N           data.loaders.paired
            proposal = directions, summed over ranks       methods.contract, distributed.communicator
            apply it where all of it is finite             step.TrainStep, optimizers, cuda_graph
            save and leave, if a rank was told to stop     stop.AgreedFlag, run_status.Stopped
        evaluate, keep scores, write a checkpoint          evaluate, scores.epoch_scores, state.capture
    write the summary and the model                        run_summary.summarise, export.export_models

`trainer` holds the two loops, `run` what stands around them.
"""
